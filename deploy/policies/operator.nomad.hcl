# For whoever runs the system, beside user.nomad.hcl: up and down, the hub's token, draining nodes. Whoever may submit
# jobs where raw_exec is on is root on the nodes; that is why deploying people do without.
namespace "@NAMESPACE@" {
  capabilities = ["submit-job"]

  variables {
    path "aivailable/hub*" {
      capabilities = ["list", "read", "write", "destroy"]
    }
  }
}

node {
  policy = "write"
}
