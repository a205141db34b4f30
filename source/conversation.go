package source

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"apron"
)

// maxRedirects is how often one request may be led elsewhere.
const maxRedirects = 10

// conversation speaks to one registry about one image: it sends what authorises each request, tries
// again what may succeed the next time, and says in the registry's own words why something is
// refused. It is safe for concurrent use.
type conversation struct {
	ref    Reference
	loc    Location
	client *http.Client
	tokens *http.Client // for token servers: follows no redirects
	grants *grants
	retry  retryPolicy
	stall  time.Duration          // how long a body may bring nothing
	plain  func(host string) bool // whether a host may be spoken to without TLS
}

func newConversation(ref Reference, loc Location, rt http.RoundTripper, g *grants, retry retryPolicy) *conversation {
	c := &conversation{ref: ref, loc: loc, grants: g, retry: retry}
	c.client = &http.Client{
		Transport: &guard{next: rt, conversation: c},
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			if len(via) >= maxRedirects {
				return errRedirects
			}
			return nil
		},
	}
	c.tokens = &http.Client{
		Transport:     rt,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// guard sees every request of a conversation, redirected ones included. It keeps to TLS unless the
// registry is configured otherwise, and lets nobody but the registry itself see the authorization.
type guard struct {
	next http.RoundTripper
	*conversation
}

// RoundTrip is part of http.RoundTripper.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !g.loc.PlainHTTP {
		return nil, errPlainHTTP
	}
	req = req.Clone(req.Context())
	req.Header.Del("Authorization")
	req.Header.Del("Referer")
	if g.own(req.URL) {
		if header, ok := g.grants.get(g.grantKey()); ok {
			req.Header.Set("Authorization", header)
		}
	}
	res, err := g.next.RoundTrip(req)
	if err == nil {
		res.Request = req // as it was sent, whatever carries it
	}
	return res, err
}

// own reports whether a URL is the registry's: the same scheme, name and port.
func (c *conversation) own(u *url.URL) bool { return u.Scheme+"://"+u.Host == c.loc.BaseURL }

// ask sends a GET or HEAD for a path below /v2/REPOSITORY/ of the registry. The response is a success,
// or 304 if header made the request conditional, and its body is the caller's to close. header may be
// nil. ctx bounds the body, too.
//
// Its errors are Faults when asking again would not help, UnavailableErrors when it may, and ctx's.
func (c *conversation) ask(ctx context.Context, method, path string, header http.Header) (*http.Response, error) {
	for try := 1; ; try++ {
		res, err := c.authorized(ctx, method, path, header)
		if err == nil && (res.StatusCode < 300 || res.StatusCode == http.StatusNotModified && header.Get("If-None-Match") != "") {
			return res, nil
		}
		asked := time.Duration(0)
		if err == nil {
			stalled := time.AfterFunc(c.stall, func() { _ = res.Body.Close() }) // ends a read in progress
			asked, err = retryAfter(res, time.Now()), c.refused(res)
			drop(res)
			stalled.Stop()
		} else {
			err = c.explain(err)
		}
		switch {
		case ctx.Err() != nil:
			return nil, unreachable(c.loc.Host, ctx.Err())
		case apron.KindOf(err) != 0, !c.retry.pause(ctx, try, asked):
			return nil, err
		}
	}
}

// explain turns the error of a request into one that ask promises.
func (c *conversation) explain(err error) error {
	err = bare(err)
	if fault := lasting(err, c.loc.Host); fault != nil {
		return fault
	}
	if isOurs(err) {
		return err
	}
	return unreachable(c.loc.Host, err)
}

// authorized sends one request, and once more if the registry asks for authorization.
func (c *conversation) authorized(ctx context.Context, method, path string, header http.Header) (*http.Response, error) {
	res, err := c.send(ctx, method, path, header)
	if err != nil || res.StatusCode != http.StatusUnauthorized || !c.own(res.Request.URL) {
		return res, err
	}
	ok, err := c.answer(ctx, res)
	if err == nil && !ok {
		return res, nil
	}
	drop(res)
	if err != nil {
		return nil, err
	}
	return c.send(ctx, method, path, header)
}

// drop is done with a response whose body is of no use. What is left of a short one is read, so that
// the connection can be used again.
func drop(res *http.Response) {
	_, _ = io.CopyN(io.Discard, res.Body, maxWordsBytes) // whatever it holds
	_ = res.Body.Close()                                 // only read from
}

func (c *conversation) send(ctx context.Context, method, path string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.loc.BaseURL+"/v2/"+c.loc.Repository+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, header)
	req.Header.Set("User-Agent", "apron")
	return c.client.Do(req)
}

// refused returns the error for a response that is no success.
func (c *conversation) refused(res *http.Response) error {
	said := words(res, c.secrets()...)
	code := res.StatusCode
	if passing(code) {
		return troubled(c.loc.Host, code, said)
	}
	fault := &apron.Fault{Kind: apron.Invalid, Err: fmt.Errorf("status %d", code)}
	switch {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return c.denied(said, fault.Err)
	case code == http.StatusNotFound && strings.Contains(res.Request.URL.Path, "/blobs/"):
		fault.Msg = fmt.Sprintf("The image %s is incomplete: the registry lacks a part of it.", c.ref)
	case code == http.StatusNotFound:
		fault.Msg = fmt.Sprintf("The image %s does not exist.", c.ref)
	case code == http.StatusRequestedRangeNotSatisfiable:
		fault.Msg = fmt.Sprintf("The registry %s delivers less than it should for the image %s.", c.loc.Host, c.ref)
	default:
		fault.Msg = fmt.Sprintf("The registry refused the image %s (status %d).", c.ref, code)
	}
	fault.Msg += quote(said)
	return fault
}

// passing reports whether a status may be another one the next time.
func passing(status int) bool {
	return status >= 500 && status != http.StatusNotImplemented ||
		status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
}

func quote(said string) string {
	if said == "" {
		return ""
	}
	return " The registry says: " + strings.TrimSuffix(said, ".") + "."
}

// denied is the Fault for a registry that does not let us in.
func (c *conversation) denied(said string, err error) error {
	why := "not authorized"
	switch {
	case c.loc.Embedded:
	case c.loc.Anonymous():
		why += "; no credentials are configured for " + c.loc.Host
	default:
		why += " with the credentials configured for " + c.loc.Host
	}
	f := denied(c.ref, err)
	f.Msg = strings.TrimSuffix(f.Msg, ".") + " (" + why + ")." + quote(said)
	return f
}

func denied(ref Reference, err error) *apron.Fault {
	return &apron.Fault{
		Kind: apron.Invalid, Err: err,
		Msg: fmt.Sprintf("The image %s does not exist or its registry does not allow access to it.", ref),
	}
}

// secrets returns what a registry might repeat, in every form it was sent.
func (c *conversation) secrets() []string {
	s := c.loc.secrets()
	if header, ok := c.grants.get(c.grantKey()); ok {
		_, value, _ := strings.Cut(header, " ")
		s = append(s, header, value)
	}
	return s
}
