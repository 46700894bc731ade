# Written by AIvailable. Open WebUI: pages to chat with the models of the endpoint.
job "aivailable-open-webui" {
  type     = "service"
  priority = 60

  ui {
    description = "Open WebUI: chat with the models of the endpoint (add-on of AIvailable)"
  }

  group "open-webui" {
    count = 1

    # Accounts and chats. The volume lies on one node, so the job runs there and nowhere else.
    volume "data" {
      type            = "host"
      source          = "aivailable-open-webui"
      access_mode     = "single-node-writer"
      attachment_mode = "file-system"
    }

    restart {
      attempts = 5
      interval = "5m"
      delay    = "5s"
      mode     = "delay"
    }

    # An image is some gigabytes, and pulled on the first start.
    update {
      max_parallel      = 1
      min_healthy_time  = "2s"
      healthy_deadline  = "60m"
      progress_deadline = "65m"
    }

    network {
      port "http" {
        static = 3000
      }

      port "endpoint" {}
    }

    service {
      name     = "aivailable-open-webui"
      port     = "http"
      provider = "consul"

      check {
        type     = "http"
        path     = "/health"
        interval = "1s"
        timeout  = "2s"
      }
    }

    # The endpoint on this host's loopback, whichever gateways live: a container cannot look up llm.service.consul, and
    # a client that keeps one gateway's address does not survive it. Envoy asks Consul's DNS every second, and takes
    # another gateway where one does not accept.
    task "endpoint" {
      driver = "raw_exec"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        command = "envoy"
        args = [
          "-c", "${NOMAD_TASK_DIR}/envoy.yaml", "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning",
        ]
      }

      template {
        destination = "${NOMAD_TASK_DIR}/envoy.yaml"
        change_mode = "noop"
        data        = <<-EOT
        static_resources:
          listeners:
          - name: endpoint
            address:
              socket_address: {address: 127.0.0.1, port_value: {{ env "NOMAD_PORT_endpoint" }}}
            filter_chains:
            - filters:
              - name: envoy.filters.network.tcp_proxy
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
                  stat_prefix: endpoint
                  cluster: gateways
                  max_connect_attempts: 3
          clusters:
          - name: gateways
            type: STRICT_DNS
            connect_timeout: 1s
            dns_refresh_rate: 1s
            dns_lookup_family: V4_ONLY
            typed_dns_resolver_config:
              name: envoy.network.dns_resolver.cares
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig
                resolvers:
                - socket_address: {address: 127.0.0.1, port_value: 8600}
                dns_resolver_options: {no_default_search_domain: true}
            # One that refused is left out for a moment, before DNS has heard.
            outlier_detection: {consecutive_5xx: 1, interval: 1s, base_ejection_time: 5s, max_ejection_percent: 50}
            load_assignment:
              cluster_name: gateways
              endpoints:
              - lb_endpoints:
                - endpoint:
                    address:
                      socket_address: {address: "llm.service.consul", port_value: 8080}
            transport_socket:
              name: envoy.transport_sockets.tls
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
                sni: "llm.service.consul"
                common_tls_context:
                  validation_context:
                    trusted_ca: {filename: "/etc/ssl/certs/ca-certificates.crt"}
                    match_typed_subject_alt_names:
                    - {san_type: DNS, matcher: {exact: "llm.service.consul"}}
        EOT
      }

      resources {
        cpu    = 50
        memory = 128
      }
    }

    task "open-webui" {
      driver       = "raw_exec"
      kill_timeout = "20s"

      config {
        command = "sh"
        args = [
          "-c",
          "exec open-webui serve",
        ]
      }

      env {
        HOST     = "${NOMAD_IP_http}"
        PORT     = "${NOMAD_PORT_http}"
        DATA_DIR = "/volumes/1"

        OPENAI_API_BASE_URLS    = "http://127.0.0.1:${NOMAD_PORT_endpoint}/v1"
        RAG_OPENAI_API_BASE_URL = "http://127.0.0.1:${NOMAD_PORT_endpoint}/v1"
        ENABLE_OLLAMA_API = "false"
        OFFLINE_MODE = "true"
        ENABLE_VERSION_UPDATE_CHECK = "false"
        ANONYMIZED_TELEMETRY = "false"
        DO_NOT_TRACK = "true"
        SCARF_NO_ANALYTICS = "true"
        ENABLE_PERSISTENT_CONFIG = "false"
        ENABLE_SIGNUP = "false"
        BYPASS_MODEL_ACCESS_CONTROL = "true"
        BYPASS_EMBEDDING_AND_RETRIEVAL = "true"
        RAG_EMBEDDING_ENGINE = "openai"
        ENABLE_FOLLOW_UP_GENERATION = "false"
        ENABLE_TAGS_GENERATION = "false"
      }

      # The key by the job's own identity; rotated, it is read anew and Open WebUI starts again.
      template {
        destination = "${NOMAD_SECRETS_DIR}/key.env"
        env         = true
        data        = <<-EOT

        {{ with nomadVar "aivailable/keys/open-webui" -}}
        OPENAI_API_KEYS={{ .secret }}
        RAG_OPENAI_API_KEY={{ .secret }}
        {{- end }}
        EOT
      }

      # What signs its sessions, and any variable of Open WebUI that is to be other than above.
      template {
        destination = "${NOMAD_SECRETS_DIR}/own.env"
        env         = true
        data        = <<-EOT

        {{ with nomadVar "nomad/jobs/aivailable-open-webui" }}{{ range .Tuples }}{{ .K }}={{ .V | toJSON }}
        {{ end }}{{ end }}
        EOT
      }

      resources {
        cpu    = 500
        memory = 2048
      }
    }
  }
}
