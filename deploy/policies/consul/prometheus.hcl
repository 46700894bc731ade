# For the task of the job aivailable-prometheus: where controllers, gateways and engines are. Its discovery asks the agent
# for the name of its datacenter, and Nomad for the gateway that engines are read through.
service_prefix "llm" {
  policy = "read"
}

service_prefix "aivailable-" {
  policy = "read"
}

node_prefix "" {
  policy = "read"
}

agent_prefix "" {
  policy = "read"
}
