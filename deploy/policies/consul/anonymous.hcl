# For whoever has no token: the name llm.service.consul in DNS, and where it is.
service "llm" {
  policy = "read"
}

node_prefix "" {
  policy = "read"
}
