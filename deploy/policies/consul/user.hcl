# For a person who deploys: the fleet is written, the rest is read.
key "aivailable/fleet" {
  policy = "write"
}

key_prefix "aivailable/" {
  policy = "read"
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
