package confine

import (
	"io"
	"maps"
	"net"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/m3o/ingress/internal/porttest"
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

// Both ways to ask find the same sockets, those of both families and no others.
func TestListeningSocketsAreFound(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", ":0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("%s: %v", address, err) // a machine without IPv6
			continue
		}
		defer l.Close()
		port := uint16(l.Addr().(*net.TCPAddr).Port)
		conn, err := net.Dial("tcp", net.JoinHostPort("localhost", strconv.Itoa(int(port))))
		if err == nil { // a connection of the same port is no listener
			defer conn.Close()
		}
		byDiag := map[string]bool{}
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			if err := diagListeners(family, port, byDiag); err != nil {
				t.Fatal(err)
			}
		}
		byFile, err := listed(port)
		if err != nil {
			t.Fatal(err)
		}
		if len(byDiag) != 1 || !maps.Equal(byDiag, byFile) {
			t.Errorf("%s: asked %v, read %v", address, byDiag, byFile)
		}
	}
	if got, err := listening(porttest.Free(t)); err != nil || len(got) != 0 {
		t.Errorf("on a free port: %v, %v", got, err)
	}
}

func BenchmarkListening(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	for name, find := range map[string]func(uint16) (map[string]bool, error){"asked": listening, "read": listed} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := find(port); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func FuzzDiagAnswers(f *testing.F) {
	f.Add(diagRequest(unix.AF_INET, 80))
	f.Add([]byte{16, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, datagram []byte) {
		found := map[string]bool{}
		done, err := diagAnswers(datagram, 20000, found)
		if done && err != nil || len(found) > len(datagram)/diagAnswerSize {
			t.Errorf("%v, %v, %v", done, err, found)
		}
	})
}
