package edge

import (
	"net/http"
	"strings"
)

// visitorBots are parts of User-Agent headers, in lower case, of programs that
// open links nobody has clicked: the generic words crawlers identify themselves
// by, and the previewers of messengers and social networks that use none of
// those words. It decides nothing but whether a visit to a link is counted.
var visitorBots = [...]string{
	"bot", "crawl", "spider", "slurp", "preview", "unfurl", "scanner", "monitor", "headless",
	"facebookexternalhit", "facebookcatalog", "meta-externalagent",
	"whatsapp", "skypeuripreview", "embedly", "quora link", "vkshare", "iframely",
	"google-safety", "google-inspectiontool", "googleother", "feedfetcher", "mediapartners-google",
	"bingpreview", "microsoft office", "ms-office", "outlook-ios", "proofpoint", "mimecast", "barracuda",
	"w3c_validator", "lighthouse", "pingdom", "uptime",
}

// isPerson reports whether a request looks like somebody following a link, as
// opposed to a bot, a link preview, or a browser that fetches ahead.
func isPerson(r *http.Request) bool {
	if r.Method != http.MethodGet || isPrefetch(r.Header) {
		return false
	}
	agent := strings.ToLower(r.UserAgent())
	for _, bot := range visitorBots {
		if strings.Contains(agent, bot) {
			return false
		}
	}
	return true
}

// isPrefetch reads the headers browsers send when they fetch what the visitor
// may want next: Sec-Purpose (the Fetch standard), and its forerunners.
func isPrefetch(h http.Header) bool {
	for _, name := range [...]string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		value := strings.ToLower(h.Get(name))
		if strings.Contains(value, "prefetch") || strings.Contains(value, "prerender") || strings.Contains(value, "preview") {
			return true
		}
	}
	return false
}
