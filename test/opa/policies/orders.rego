package orders.authz

decision := {"allow": true, "rule": "readers list"} if {
	input.method.name == "ListOrders"
	may("order:read")
} else := {"allow": true, "rule": "writers import"} if {
	input.method.name == "ImportOrders"
	may("order:write")
} else := {"allow": true, "rule": "writers change their own"} if {
	input.method.name == "ChangeOrders"
	may("order:write")
	is_own
} else := {"allow": false, "reason": "no rule of orders.authz allows it"}

may(permission) if {
	some role in input.principal.roles
	permission in data.permissions[role]
}

# The call is asked about first, without a message, and then each message.
is_own if not input.request

is_own if input.request.owner == input.principal.subject
