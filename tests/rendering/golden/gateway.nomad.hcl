# Written by AIvailable. The gateways: an Envoy each, and the feeder that writes its files.
job "aivailable-gateway" {
  type     = "service"
  priority = 90

  ui {
    description = "AIvailable: where clients connect (service llm)"
  }

  group "gateway" {
    count          = 2
    shutdown_delay = "2s"

    # With Consul's ACLs on, the task gets a token by its workload identity.
    consul {}

    constraint {
      operator = "distinct_hosts"
      value    = "true"
    }

    constraint {
      attribute = "${meta.aivailable_consul}"
      operator  = "is_set"
    }

    restart {
      attempts = 5
      interval = "1m"
      delay    = "1s"
      mode     = "delay"
    }

    reschedule {
      delay          = "5s"
      delay_function = "exponential"
      max_delay      = "1m"
      unlimited      = true
    }

    update {
      max_parallel     = 1
      min_healthy_time = "2s"
    }

    network {
      port "http" {
        static = 8080
      }

      port "probe" {
        static = 8081
      }
    }

    service {
      name     = "llm"
      port     = "http"
      provider = "consul"

      meta {
        probe = "8081"
      }

      check {
        type     = "http"
        port     = "probe"
        path     = "/ready"
        interval = "1s"
        timeout  = "2s"
      }
    }

    task "gateway" {
      driver       = "raw_exec"
      kill_timeout = "40s"

      identity {
        env = true
      }

      config {
        command = "aivailable"
        args = [
          "--cluster", "nomad", "gateway", "--directory", "${NOMAD_TASK_DIR}/gateway",
          "--name", "${node.unique.name}",
        ]
      }

      env {
        CONSUL_HTTP_ADDR           = "${meta.aivailable_consul}"
        AIVAILABLE_GATEWAY_ADDRESS = "${NOMAD_IP_http}"
        AIVAILABLE_GATEWAY_PORT    = "8080"
        AIVAILABLE_PROBE_PORT      = "8081"
        AIVAILABLE_FETCH_COMMAND = "python3 -m aivailable fetch"
        AIVAILABLE_LLAMACPP_COMMAND = "python3 -m aivailable.engines.llamacpp"
        AIVAILABLE_MODELS = "/srv/models"
      }

      resources {
        cpu    = 500
        memory = 512
      }
    }
  }
}
