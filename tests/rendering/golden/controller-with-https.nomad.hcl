# Written by AIvailable. The controllers: all watch, one leads.
job "aivailable-controller" {
  type     = "service"
  priority = 90

  ui {
    description = "AIvailable: plans what runs where; one of these leads"
  }

  group "controller" {
    count = 2

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
      delay    = "2s"
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
      port "metrics" {
        static = 8090
      }
    }

    service {
      name     = "aivailable-controller"
      port     = "metrics"
      provider = "consul"

      # By which Prometheus knows how to ask.
      meta {
        scheme = "https"
      }

      check {
        type     = "http"
        protocol = "https"
        tls_skip_verify = true
        path     = "/metrics"
        interval = "1s"
        timeout  = "2s"
      }
    }

    task "controller" {
      driver       = "raw_exec"
      kill_timeout = "10s"

      identity {
        env = true
      }

      config {
        command = "aivailable"
        args = [
          "--cluster", "nomad", "controller", "--address", "${NOMAD_IP_metrics}",
          "--directory", "${NOMAD_TASK_DIR}/controller",
        ]
      }

      env {
        CONSUL_HTTP_ADDR = "${meta.aivailable_consul}"
        AIVAILABLE_FETCH_COMMAND = "python3 -m aivailable fetch"
        AIVAILABLE_LLAMACPP_COMMAND = "python3 -m aivailable.engines.llamacpp"
        AIVAILABLE_MODELS = "/srv/models"
        AIVAILABLE_TLS_SELF_SIGNED = "True"
      }

      resources {
        cpu    = 200
        memory = 256
      }
    }
  }
}
