# For Nomad's agents, servers and clients: they register and deregister what runs.
agent_prefix "" {
  policy = "read"
}

node_prefix "" {
  policy = "read"
}

service_prefix "" {
  policy = "write"
}
