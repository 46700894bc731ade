# Written by AIvailable; never edited: a changed replica is another job.
job "llm-qwen3-8b-1-c7c4d1a6" {
  type     = "service"
  priority = 70

  ui {
    description = "qwen3-8b, replica 1, vllm"

    link {
      label = "Endpoint (needs an API key)"
      url   = "http://llm.service.consul:8080/v1/models"
    }
  }

  meta {
    model = "qwen3-8b"
    variant = "/srv/models/Qwen3-8B"
    engine = "vllm"
    replica = "1"
    vendor = "amd"
    claim_mib = "20480"
    context = "8192"
    concurrency = "8"
    simulated = "false"
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
      value     = "id-node7"
      weight    = 100
    }

    network {

      port "http" {}
    }

    service {
      name     = "llm-engine"
      port     = "http"
      provider = "consul"
      tags     = ["qwen3-8b"]

      meta {
        model   = "qwen3-8b"
        engine  = "vllm"
        replica = "1"
        job     = "llm-qwen3-8b-1-c7c4d1a6"
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

    volume "models" {
      type      = "host"
      source    = "aivailable-models"
      read_only = true
    }

    task "engine" {
      driver       = "docker"
      kill_timeout = "30s"
      # Nomad's own is SIGINT, on which vLLM cuts the streams that it finishes on this one.
      kill_signal  = "SIGTERM"

      volume_mount {
        volume      = "models"
        destination = "/models"
        read_only   = true
      }

      config {
        image        = "vllm/vllm-openai-rocm:v0.32.0"
        network_mode = "host"
        ipc_mode     = "host"
        args = [
          "/models/Qwen3-8B",
          "--served-model-name", "qwen3-8b",
          "--host", "${NOMAD_IP_http}",
          "--port", "${NOMAD_PORT_http}",
          "--max-model-len",
          "8192",
        ]
      }

      resources {
        cpu    = 500
        memory = 6144

        device "amd/vram" {
          count = 40

          constraint {
            attribute = "${device.attr.slice_mib}"
            operator  = "="
            value     = "512"
          }

          constraint {
            attribute = "${device.attr.memory}"
            operator  = ">="
            value     = "20480 MiB"
          }

          constraint {
            attribute = "${device.attr.gfx}"
            operator  = "set_contains_any"
            value     = "gfx90a,gfx942"
          }

          affinity {
            attribute = "${device.attr.uuid}"
            operator  = "="
            value     = "GPU-7"
            weight    = 100
          }
        }
      }
    }
  }
}
