# For the job aivailable-controller, by its workload identity.

# It keeps the ledger: slices that jobs of other namespaces hold are not free either, and Nomad lets nobody follow the
# events of nodes and allocations who may not read every namespace.
namespace "*" {
  capabilities = ["read-job"]
}

# It starts and stops engines here. read-fs and read-logs: what a loading engine says, shown as its progress.
namespace "@NAMESPACE@" {
  capabilities = ["list-jobs", "read-job", "submit-job", "read-fs", "read-logs"]

  variables {
    # Its page is for whoever has a key. No new power: who may start jobs on every node finds the gateways' files there.
    path "aivailable/keys/*" {
      capabilities = ["list", "read"]
    }

    # engine.nomad.hcl gives it to every job of the namespace; a closer path takes it back.
    path "aivailable/hub" {
      capabilities = ["deny"]
    }

    path "aivailable/hub/*" {
      capabilities = ["deny"]
    }
  }
}

# Cards, and what their drivers say is in use.
node {
  policy = "read"
}

# Engines see the node's models; whoever starts a job must have the right to what it mounts.
host_volume "aivailable-models" {
  capabilities = ["mount-readonly"]
}
