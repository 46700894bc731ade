# For a person who deploys: deploy, status, plan, explain, events, logs, nodes, keys, chat. No job is started with this
# token: the fleet lies in Consul, and the controller starts engines.

# As the controller's: free slices, and following what happens.
namespace "*" {
  capabilities = ["read-job"]
}

namespace "@NAMESPACE@" {
  capabilities = ["list-jobs", "read-job", "read-fs", "read-logs"]

  variables {
    path "aivailable/keys/*" {
      capabilities = ["list", "read", "write", "destroy"]
    }
  }
}

node {
  policy = "read"
}
