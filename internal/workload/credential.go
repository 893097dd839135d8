package workload

// Credential is what a tenant's repositories on one host are fetched with. All of
// it but the host is sealed in the store.
type Credential struct {
	// Host is the name of the git server, without a port.
	Host string
	// Username and Password are for https; the password may be a token.
	Username, Password string
	// SSHKey is an unencrypted private key in PEM form, KnownHosts the host's
	// public keys as in a known_hosts file.
	SSHKey, KnownHosts string
}
