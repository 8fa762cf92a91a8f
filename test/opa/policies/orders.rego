package orders.authz

decision := {"allow": true, "rule": "viewers read"} if {
	input.method.name == "GetOrder"
	"viewer" in input.principal.roles
} else := {"allow": true, "rule": "clerks cancel in their office"} if {
	input.method.name == "CancelOrder"
	"clerk" in input.principal.roles
	input.principal.tenant in data.offices
} else := {"allow": false, "reason": "no rule of orders.authz allows it"}
