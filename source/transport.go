package source

import (
	"io"
	"net/http"
)

// maxResponseBytes bounds every response that is read whole: manifests, configurations, tokens.
const maxResponseBytes = 16 << 20

// oneScheme pushes to one registry over the scheme it is configured for. The client library tries
// https and http in turn for private addresses; here that is decided beforehand, so that nothing
// goes out in clear text because a port happened to be closed.
type oneScheme struct {
	next  http.RoundTripper
	host  string
	plain bool
}

// RoundTrip is part of http.RoundTripper.
func (t *oneScheme) RoundTrip(req *http.Request) (*http.Response, error) {
	switch {
	case t.plain && req.URL.Host == t.host && req.URL.Scheme != "http":
		clear := *req.URL
		clear.Scheme = "http"
		req = req.Clone(req.Context())
		req.URL = &clear
	case !t.plain && req.URL.Scheme != "https":
		return nil, errPlainHTTP
	}
	res, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if req.Method == http.MethodGet {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxResponseBytes), res.Body}
	}
	return res, nil
}
