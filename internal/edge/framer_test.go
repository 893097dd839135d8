package edge

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

// readBoth reads what a connection carries with net/http and with a framer, and
// returns where each says that requests end, as long as neither objects.
func readBoth(t *testing.T, stream string) {
	t.Helper()
	f := &framer{maxLine: 64 << 10}
	var heads []int // the offsets at which heads end
	for at := range len(stream) {
		f.feed([]byte{stream[at]})
		if f.heads > len(heads) {
			heads = append(heads, at+1)
		}
	}
	source := strings.NewReader(stream)
	in := bufio.NewReader(source)
	for request := 0; ; request++ {
		r, err := http.ReadRequest(in)
		if err != nil || r.ProtoMajor != 1 {
			return // the server answers and closes the connection
		}
		end := len(stream) - source.Len() - in.Buffered()
		if f.headDoubt(request) != "" {
			return // so do we
		}
		if request >= len(heads) || heads[request] != end {
			t.Fatalf("net/http ends the head of request %d at %d, the framer at %v: %q", request, end, heads, stream)
		}
		_, err = io.Copy(io.Discard, r.Body)
		if err != nil || f.bodyDoubt(request) != "" {
			return
		}
	}
}

// FuzzFramer has net/http read the same bytes. What neither refuses must have the
// same ends for both.
func FuzzFramer(f *testing.F) {
	const get, post = "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\n"
	for _, stream := range []string{
		get + get, post + "Content-Length: 3\r\n\r\nabc" + get, post + "Transfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nA: b\r\n\r\n" + get,
		post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get, post + "Content-Length: 3\n\nabc" + get,
		post + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + get, "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n" + get,
		"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get, post + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc" + get,
		post + "Content-Length: 1\r\nContent-Length: 1\r\n\r\na" + get, post + "Content_Length: 1\r\n\r\na" + get, "\r\n" + get,
	} {
		f.Add(stream)
	}
	f.Fuzz(readBoth)
}

// FuzzFramerPieces cuts the same bytes differently; nothing may depend on that.
func FuzzFramerPieces(f *testing.F) {
	f.Add("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\n\r\n", 3)
	f.Fuzz(func(t *testing.T, stream string, size int) {
		size = max(1, size%100)
		whole, pieces := &framer{maxLine: 64 << 10}, &framer{maxLine: 64 << 10}
		whole.feed([]byte(stream))
		for rest := []byte(stream); len(rest) > 0; rest = rest[min(size, len(rest)):] {
			pieces.feed(rest[:min(size, len(rest))])
		}
		if whole.state != pieces.state || whole.heads != pieces.heads || whole.doubt != pieces.doubt || whole.request != pieces.request || whole.left != pieces.left {
			t.Errorf("%q in pieces of %d: %+v and %+v", stream, size, whole, pieces)
		}
	})
}

func TestAFramerKeepsNoLongLines(t *testing.T) {
	f := &framer{maxLine: 64 << 10}
	f.feed([]byte("GET / HTTP/1.1\r\nHost: a\r\nX: "))
	for range 63 {
		f.feed(bytes.Repeat([]byte("x"), 1<<10))
	}
	f.feed([]byte("\r\n\r\n"))
	if f.heads != 1 || cap(f.line) > maxChunkLine {
		t.Errorf("%d heads, and %d bytes are kept", f.heads, cap(f.line))
	}
	f.feed([]byte("GET / HTTP/1.1\r\nHost: a\r\nX: "))
	for range 100 {
		f.feed(bytes.Repeat([]byte("x"), 1<<10))
	}
	if f.headDoubt(1) == "" || cap(f.line) > 0 {
		t.Errorf("an endless line is no doubt, and %d bytes of it are kept", cap(f.line))
	}
}

func TestWhatIsNotHTTPAnyMoreIsNotFollowed(t *testing.T) {
	f := &framer{maxLine: 64 << 10}
	f.feed([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	f.stop()
	f.feed(bytes.Repeat([]byte("\x00\n"), 1000))
	if f.doubt != "" || f.heads != 1 || f.headDoubt(0) != "" {
		t.Errorf("got %+v", f)
	}
}

func BenchmarkFramer(b *testing.B) {
	request := []byte("GET /some/path?with=query HTTP/1.1\r\nHost: hello.app.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n" +
		"Accept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, deflate, br\r\nCookie: a=b; c=d\r\nContent-Length: 3\r\n\r\nabc")
	f := &framer{maxLine: 64 << 10}
	b.ReportAllocs()
	b.SetBytes(int64(len(request)))
	for b.Loop() {
		f.feed(request)
	}
	if f.heads == 0 || f.doubt != "" {
		b.Fatalf("got %+v", f)
	}
}
