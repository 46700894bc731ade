# For a person who runs `aivailable up`, besides aivailable-user: says who may speak to engines in the mesh.
service "llm-engine" {
  policy     = "read"
  intentions = "write"
}

service "llm" {
  policy     = "read"
  intentions = "read"
}
