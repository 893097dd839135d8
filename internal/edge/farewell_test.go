package edge

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// echoSocket is a backend that answers each message with itself, until the other
// side closes.
func echoSocket(t *testing.T, ended chan<- websocket.StatusCode) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.CloseNow()
		for {
			kind, message, err := conn.Read(r.Context())
			if err != nil {
				ended <- websocket.CloseStatus(err)
				return
			}
			if err := conn.Write(r.Context(), kind, message); err != nil {
				t.Error(err)
				return
			}
		}
	}
}

// A WebSocket goes on while the ingress drains. Before it is cut off its visitor is
// told, and so, by the visitor's answer, is the backend.
func TestWebSocketsAreToldBeforeTheEnd(t *testing.T) {
	ended := make(chan websocket.StatusCode, 1)
	e := newEnding(t, false, time.Minute)
	e.backends["echo"] = backend(t, echoSocket(t, ended))
	ws, _, err := websocket.Dial(t.Context(), "ws://echo.app.test/", &websocket.DialOptions{HTTPClient: clientOf(t, e.address)})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	echo := func() error {
		if err := ws.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
			return err
		}
		_, message, err := ws.Read(t.Context())
		if err == nil && string(message) != "hello" {
			err = errors.New("the echo is " + string(message))
		}
		return err
	}
	if err := echo(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
	defer cancel()
	down := make(chan error, 1)
	go func() { down <- e.server.Shutdown(ctx) }()
	if err := <-e.served; err != nil {
		t.Error(err)
	}
	if err := echo(); err != nil {
		t.Errorf("while the ingress drains: %v", err)
	}
	_, _, err = ws.Read(t.Context())
	if websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the visitor was told %v, want 1001", err)
	}
	if status := <-ended; status != websocket.StatusGoingAway {
		t.Errorf("the backend was told %v", status)
	}
	if err := <-down; err != nil {
		t.Errorf("the end: %v", err)
	}
}

// parting returns the connection to a visitor and, once it is closed, what that one got.
func parting() (f *farewell, got <-chan []byte) {
	ours, theirs := net.Pipe()
	all := make(chan []byte, 1)
	go func() {
		text, _ := io.ReadAll(theirs) // a pipe that is closed has ended
		all <- text
	}()
	return &farewell{Conn: ours}, all
}

// The frame under way is finished first, however large it is and however it comes.
func TestNobodyIsInterruptedInTheMiddleOfAFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, got := parting()
		message := frame(0x82, bytes.Repeat([]byte("x"), 70_000), false)
		after := frame(0x81, []byte("after"), false)
		write := func(p []byte) {
			if n, err := f.Write(p); n != len(p) || err != nil {
				t.Errorf("wrote %d of %d, %v", n, len(p), err)
			}
		}
		write(message[:5]) // in the middle of its length
		f.say()
		write(message[5:40_000])
		write(append(message[40_000:len(message):len(message)], after...))
		write(after)
		f.Conn.Close()
		if all := <-got; !bytes.Equal(all, append(message, goingAway...)) {
			t.Errorf("the visitor got %d bytes, which end in %q", len(all), all[max(0, len(all)-20):])
		}
	})
}

// A shutdown may come between the two: the connection is taken over and the answer
// that says so is not out yet.
func TestNobodyIsToldBeforeTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, got := parting()
		f.say()
		const answer = "HTTP/1.1 101 Switching Protocols\r\n\r\n"
		if _, err := io.WriteString(f.Conn, answer); err != nil { // as the server, past the farewell
			t.Error(err)
		}
		go func() { _, _ = f.Read(make([]byte, 1)) }()
		synctest.Wait()
		f.Conn.Close()
		if all := <-got; string(all) != answer+string(goingAway) {
			t.Errorf("the visitor got %q", all)
		}
	})
}

// frame makes a frame, whose mask is of no importance here.
func frame(first byte, payload []byte, masked bool) []byte {
	f := []byte{first, 0}
	switch n := len(payload); {
	case n < 126:
		f[1] = byte(n)
	case n < 1<<16:
		f[1] = 126
		f = binary.BigEndian.AppendUint16(f, uint16(n))
	default:
		f[1] = 127
		f = binary.BigEndian.AppendUint64(f, uint64(n))
	}
	if masked {
		f[1] |= 0x80
		f = append(f, 1, 2, 3, 4)
	}
	return append(f, payload...)
}

// However the bytes are cut up, the ends of frames are found, and found ahead.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("hello"), uint16(0), uint8(1), true)
	f.Add([]byte(strings.Repeat("a", 200)), uint16(40_000), uint8(7), false)
	f.Fuzz(func(t *testing.T, payload []byte, more uint16, cut uint8, masked bool) {
		one := frame(0x82, append(payload, make([]byte, int(more)*2)...), masked)
		stream := append(one[:len(one):len(one)], frame(0x89, nil, masked)...)
		var at frames
		fed := 0
		for fed < len(stream) {
			n := min(int(cut)+1, len(stream)-fed)
			if rest := at.rest(stream[fed:]); fed > 0 && fed < len(one) && rest != len(one)-fed {
				t.Fatalf("at %d of %d the frame has %d bytes to go", fed, len(one), rest)
			}
			at.feed(stream[fed : fed+n])
			fed += n
			if between := at.between(); between != (fed == len(one) || fed == len(stream)) {
				t.Fatalf("at %d of %d and %d: between frames is %v", fed, len(one), len(stream), between)
			}
		}
	})
}
