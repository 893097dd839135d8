package certs

import (
	"testing"

	"github.com/m3o/ingress/internal/certs/acmetest"
	"github.com/m3o/ingress/internal/store/storetest"
)

// startTwo starts two ingresses on one database. The authority reaches the second.
func startTwo(t *testing.T, changes ...func(*ACME)) (a, b *site) {
	ca := acmetest.New(t, validity)
	db, sealer, hosts := storetest.Open(t), storetest.Sealer(t), serving("m3o.test")
	a = startSite(t, ca, newTestStorage(t, db, sealer), hosts, changes...)
	return a, startSite(t, ca, newTestStorage(t, db, sealer), hosts, changes...)
}

// The authority may visit any of several ingresses, whichever of them has ordered.
func TestTheAuthorityMayVisitAnotherIngress(t *testing.T) {
	for name, change := range map[string]func(*ACME){
		"http-01":     func(o *ACME) { o.withoutALPN = true },
		"tls-alpn-01": func(o *ACME) { o.withoutHTTP = true },
	} {
		t.Run(name, func(t *testing.T) {
			a, _ := startTwo(t, change)
			a.mustVisit("m3o.test")
		})
	}
}

func TestARevokedCertificateIsShownByNoIngress(t *testing.T) {
	a, b := startTwo(t)
	first := b.mustVisit("m3o.test")
	if a.mustVisit("m3o.test").SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Fatal("they show two certificates")
	}
	if err := a.m.Revoke(t.Context(), "m3o.test"); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*site{a, b} {
		if s.mustVisit("m3o.test").SerialNumber.Cmp(first.SerialNumber) == 0 {
			t.Error("the revoked certificate is still shown")
		}
	}
}

func TestACertificateOfAnotherIngressIsRevoked(t *testing.T) {
	a, b := startTwo(t)
	b.mustVisit("m3o.test")
	if err := a.m.Revoke(t.Context(), "m3o.test"); err != nil {
		t.Error(err)
	}
}
