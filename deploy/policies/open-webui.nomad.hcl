# For the job aivailable-open-webui, by its workload identity: its own API key and nothing else. What lies below
# nomad/jobs/aivailable-open-webui, its own secret, Nomad gives to that job without any policy.
namespace "@NAMESPACE@" {
  variables {
    path "aivailable/keys/open-webui" {
      capabilities = ["read"]
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
