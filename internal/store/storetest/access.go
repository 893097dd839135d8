package storetest

import (
	"errors"
	"os"
	"path/filepath"
)

// Encrypt has the server take connections by TLS alone, with a certificate and its key
// in PEM, from its next start on, for which it is stopped.
func (s *Server) Encrypt(cert, key []byte) error {
	files := map[string][]byte{
		"server.crt": cert, "server.key": key,
		"pg_hba.conf": []byte("hostssl all all 127.0.0.1/32 trust\n"),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(s.data(), name), content, 0o600); err != nil {
			return err
		}
	}
	s.settings = append(s.settings, "ssl=on")
	return errors.Join(s.own(), s.Stop())
}

// Guard has the server ask a user for a password, from now on.
func (s *Server) Guard(user, password string) error {
	path := filepath.Join(s.data(), "pg_hba.conf")
	rules, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append([]byte("host all "+user+" 127.0.0.1/32 scram-sha-256\n"), rules...), 0o600); err != nil {
		return err
	}
	return errors.Join(
		s.exec("CREATE ROLE "+user+" LOGIN SUPERUSER PASSWORD '"+password+"'"),
		s.exec("SELECT pg_reload_conf()"),
	)
}
