# For the tasks of the job aivailable-gateway: routes from the fleet, endpoints from the engines' health, its own usage.
key "aivailable/fleet" {
  policy = "read"
}

key_prefix "aivailable/usage/" {
  policy = "write"
}

service "llm-engine" {
  policy = "read"
}

# Its certificate in the mesh; this right is also that of registering the service itself.
service "llm" {
  policy = "write"
}

node_prefix "" {
  policy = "read"
}
