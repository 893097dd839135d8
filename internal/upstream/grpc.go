package upstream

import (
	"net/http"
	"strings"
	"time"
)

// IsGRPC reports whether a request that came over HTTP/2 is one of gRPC's, which go
// over that and nothing else. gRPC-Web's, whose media type begins in the same way,
// do not.
func IsGRPC(r *http.Request) bool {
	const media = "application/grpc"
	if r.ProtoMajor != 2 {
		return false
	}
	kind := r.Header.Get("Content-Type")
	if !strings.HasPrefix(kind, media) {
		return false
	}
	rest := kind[len(media):]
	return rest == "" || rest[0] == '+' || rest[0] == ';'
}

// newPriorKnowledge returns a transport that speaks HTTP/2 without TLS to backends
// that are known to (RFC 9113 3.3): those that gRPC is sent to. How long an answer
// may take to begin is for gRPC's own deadlines: a stream may be silent for hours
// before its first message.
func newPriorKnowledge(o Options, dial dialFunc) *http.Transport {
	t := newStandard(o, dial)
	t.ResponseHeaderTimeout = 0
	t.Protocols = new(http.Protocols)
	t.Protocols.SetUnencryptedHTTP2(true)
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second}
	return t
}
