# For the job aivailable-gateway, by its workload identity: it faces the clients, so it reads their keys and nothing else.
namespace "@NAMESPACE@" {
  variables {
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
