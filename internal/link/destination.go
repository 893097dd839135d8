package link

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDestination is how long a destination may be, in bytes: what common servers
// and clients accept in one header.
const maxDestination = 8 << 10

// checkDestination returns why a link may not lead there. The text is for the
// caller (WIRE.md 4, "the parse error").
func (s *Service) checkDestination(destination string) error {
	if destination == "" {
		return errors.New("missing destinationURL")
	}
	if len(destination) > maxDestination {
		return fmt.Errorf("destinationURL is longer than %d bytes", maxDestination)
	}
	if !utf8.ValidString(destination) || strings.ContainsFunc(destination, unicode.IsControl) {
		return errors.New("destinationURL has a control character or invalid UTF-8 in it")
	}
	u, err := url.Parse(destination)
	if err != nil {
		return err
	}
	if scheme := strings.ToLower(u.Scheme); scheme != "http" && scheme != "https" {
		return errors.New("destinationURL must be an absolute http or https URL")
	}
	if u.Hostname() == "" {
		return errors.New("destinationURL has no host")
	}
	if s.isOwn(u) {
		return errors.New("destinationURL is the shortener itself")
	}
	return nil
}
