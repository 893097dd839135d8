package confine

import (
	"io"
	"strings"
	"testing"
)

func TestListenersAreReadNoFurtherThanTheyGo(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:4E20 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0
   1: 0100007F:4E20 0100007F:1234 03 00000000:00000000 00:00000000 00000000     0        0 12 1 0 100 0 0 10 0
   2: 00000000:4E20 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 13 1 0 100 0 0 10 0
   3: 00000000:4E21 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 14 1 0 100 0 0 10 0
   4: 0100007F:4E20 0100007F:1234 01 00000000:00000000 00:00000000 00000000     0        0 15 1 0 100 0 0 10 0
`
	rest := strings.NewReader(strings.Repeat("   5: 0100007F:4E20 0100007F:1234 06 00000000:00000000 00:00000000 00000000     0        0 0 1 0 100 0 0 10 0\n", 10_000))
	total := rest.Len()
	inodes := map[string]bool{}
	if err := listeners(io.MultiReader(strings.NewReader(table), rest), 20000, inodes); err != nil {
		t.Fatal(err)
	}
	if len(inodes) != 2 || !inodes["11"] || !inodes["13"] {
		t.Errorf("the sockets that listen on the port are %v, want 11 and 13", inodes)
	}
	if rest.Len() < total-8<<10 {
		t.Errorf("%d bytes of connections were read", total-rest.Len())
	}
}
