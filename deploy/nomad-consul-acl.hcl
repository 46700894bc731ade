# Nomad gives services and tasks identities that Consul takes for a token. Written by deploy/node.sh --consul-acl.
consul {
  service_identity {
    aud = ["consul.io"]
    ttl = "1h"
  }

  task_identity {
    aud = ["consul.io"]
    ttl = "1h"
  }
}
