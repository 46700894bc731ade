# A controller in Consul, where no Nomad job registers it: `aivailable doctor` and Prometheus find it by this name.
service {
  id   = "aivailable-controller"
  name = "aivailable-controller"
  port = 8090

  check {
    name     = "metrics"
    # CONTROLLER_ADDRESS and AIVAILABLE_CONTROLLER_PORT. With a certificate for clients: https://…, tls_skip_verify = true
    # here, and meta { scheme = "https" } beside the port, by which Prometheus knows.
    http     = "http://127.0.0.1:8090/metrics"
    interval = "1s"
    timeout  = "2s"
  }
}
