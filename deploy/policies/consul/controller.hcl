# For the tasks of the job aivailable-controller: the fleet is read, the rest is the leader's.
key "aivailable/fleet" {
  policy = "read"
}

key "aivailable/leader" {
  policy = "write"
}

key "aivailable/events" {
  policy = "write"
}

key "aivailable/failed" {
  policy = "write"
}

key_prefix "aivailable/measured/" {
  policy = "write"
}

key_prefix "aivailable/cache/" {
  policy = "read"
}

key_prefix "aivailable/leaving/" {
  policy = "read"
}

# The lock by which one of them leads is held by a session.
session_prefix "" {
  policy = "write"
}

service_prefix "llm" {
  policy = "read"
}

service_prefix "aivailable-" {
  policy = "read"
}

node_prefix "" {
  policy = "read"
}
