package key

import (
	"crypto/rand"
	"strings"
)

// Ids are random, so that they tell nothing, and not secret. Each kind has a
// prefix that people recognise and that no tenant's name can have.

func newKeyID() string    { return "key_" + randomID() }
func newTenantID() string { return "tenant_" + randomID() }
func newNodeID() string   { return "node_" + randomID() }

// randomID returns 26 characters that carry 130 bits.
func randomID() string { return strings.ToLower(rand.Text()) }
