# For a person who runs `aivailable up` and `drain`, besides aivailable-user: says who may speak to engines in the mesh,
# and which nodes are to be emptied.
key_prefix "aivailable/leaving/" {
  policy = "write"
}

service "llm-engine" {
  policy     = "read"
  intentions = "write"
}

service "llm" {
  policy     = "read"
  intentions = "read"
}
