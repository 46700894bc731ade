# A controller in Consul, where no Nomad job registers it: `aivailable doctor` and Prometheus find it by this name.
service {
  id   = "aivailable-controller"
  name = "aivailable-controller"
  port = 8090

  check {
    name     = "metrics"
    http     = "http://127.0.0.1:8090/metrics" # CONTROLLER_ADDRESS and AIVAILABLE_CONTROLLER_PORT
    interval = "1s"
    timeout  = "2s"
  }
}
