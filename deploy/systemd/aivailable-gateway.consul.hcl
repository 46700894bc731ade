# A gateway in Consul, where no Nomad job registers it: the name llm.service.consul, as long as it is ready.
service {
  id   = "aivailable-gateway"
  name = "llm"
  port = 8080

  meta {
    probe = "8081" # AIVAILABLE_PROBE_PORT: where Prometheus and the page read
  }

  check {
    name     = "ready"
    http     = "http://127.0.0.1:8081/ready" # AIVAILABLE_GATEWAY_ADDRESS and AIVAILABLE_PROBE_PORT
    interval = "1s"
    timeout  = "2s"
  }
}
