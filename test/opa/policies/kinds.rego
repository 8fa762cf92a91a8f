# What tests ask for: each rule is an entrypoint.
package test.authz

allow if "caller" in input.principal.roles

decision := {"allow": true, "rule": "callers"} if {
	"caller" in input.principal.roles
} else := {"allow": false, "rule": "callers", "reason": "needs role caller"}

default messages := true

messages := false if input.request.text == "secret"

from_data if data.open == true

# All of the document that a policy may need, as the test's caller has it.
whole if {
	input.method == {
		"path": "/test.v1.Kinds/Unary",
		"service": "test.v1.Kinds",
		"name": "Unary",
		"kind": "unary",
	}
	input.principal.subject == "ada"
	input.principal.tenant == "acme"
	input.principal.claims.sub == "ada"
	input.peer.certificate.name == "spiffe://test.example/client"
	input.metadata == {"x-region": ["eu"]}
	input.requestId == "r-1"
	not input.request
}

text := "true"

number := 1

allowed := {"allowed": true}

# Cannot be evaluated: a rule has one value.
conflict := 1 if input.method

conflict := 2 if input.method

# Takes memory for each letter of a header.
hungry if count([x | some i in numbers.range(1, to_number(input.metadata["x-size"][0])); x := sprintf("%d", [i])]) > 0

now if time.now_ns() > 0

split if count(regex.split("a+", "banana")) > 0

parsed if yaml.unmarshal(input.metadata["x-yaml"][0]).open
