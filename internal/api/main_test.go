package api_test

import (
	"testing"

	"github.com/m3o/ingress/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }
