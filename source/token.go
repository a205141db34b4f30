package source

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"apron"
)

const (
	maxTokenBytes = 1 << 20          // of a token server's answer
	tokenLife     = 60 * time.Second // when the answer does not say (distribution project, "token specification")
	tokenMargin   = 5 * time.Second  // before its end a token is not used any more
	maxGrants     = 512
)

// grantKey is what an authorization is good for.
type grantKey struct {
	baseURL, repository string
	credential          Credential
}

type grant struct {
	header string    // value of Authorization; sensitive
	until  time.Time // zero: for good
}

// grants remembers what registries have accepted, so that the next request need not be refused
// first. It is safe for concurrent use.
type grants struct {
	mu    sync.Mutex // guards known
	known map[grantKey]grant
}

func newGrants() *grants { return &grants{known: map[grantKey]grant{}} }

func (g *grants) get(key grantKey) (header string, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	found, ok := g.known[key]
	if !ok || !found.until.IsZero() && time.Now().After(found.until) {
		return "", false
	}
	return found.header, true
}

func (g *grants) set(key grantKey, value grant) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.known) >= maxGrants {
		clear(g.known) // they are only a short cut
	}
	g.known[key] = value
}

func (g *grants) drop(key grantKey) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.known, key)
}

func (c *conversation) grantKey() grantKey {
	return grantKey{baseURL: c.loc.BaseURL, repository: c.loc.Repository, credential: c.loc.Credential}
}

// answer takes up a challenge of the registry. ok says that there is something new to send.
func (c *conversation) answer(ctx context.Context, res *http.Response) (ok bool, err error) {
	sent := res.Request.Header.Get("Authorization")
	header, until, err := c.authorization(ctx, parseChallenges(res.Header.Values("WWW-Authenticate")))
	if err != nil || header == "" {
		return false, err
	}
	if header == sent {
		c.grants.drop(c.grantKey())
		return false, nil
	}
	c.grants.set(c.grantKey(), grant{header: header, until: until})
	return true, nil
}

// authorization returns what to send to a registry that offers the challenges; empty: nothing that
// we have would do.
func (c *conversation) authorization(ctx context.Context, offered []challenge) (header string, until time.Time, err error) {
	if t := c.loc.RegistryToken; t != "" {
		return "Bearer " + t, time.Time{}, nil
	}
	basic := false
	for _, ch := range offered {
		switch ch.scheme {
		case "bearer":
			t, until, err := c.token(ctx, ch.params)
			if err != nil {
				return "", time.Time{}, err
			}
			return "Bearer " + t, until, nil
		case "basic":
			basic = true
		}
	}
	if basic && c.loc.Password != "" {
		return basicAuth(c.loc.User, c.loc.Password), time.Time{}, nil
	}
	return "", time.Time{}, nil
}

func basicAuth(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// token asks the token server of a challenge for a token to pull with.
func (c *conversation) token(ctx context.Context, params map[string]string) (string, time.Time, error) {
	realm, err := c.realm(params["realm"])
	if err != nil {
		return "", time.Time{}, err
	}
	req, err := c.tokenRequest(ctx, realm, params)
	if err != nil {
		return "", time.Time{}, err
	}
	begin := time.Now()
	res, err := c.tokens.Do(req)
	if err != nil {
		return "", time.Time{}, unreachable(realm.Host, bare(err))
	}
	defer res.Body.Close()
	switch code := res.StatusCode; {
	case passing(code):
		return "", time.Time{}, troubled(realm.Host, code, words(res, c.secrets()...))
	case code != http.StatusOK:
		secrets := append(c.secrets(), req.Header.Get("Authorization"), basicAuth(c.loc.User, c.loc.Password)[len("Basic "):])
		return "", time.Time{}, c.denied(words(res, secrets...), fmt.Errorf("token server %s: status %d", realm.Host, code))
	}
	t, life, ok := parseToken(io.LimitReader(res.Body, maxTokenBytes))
	if !ok {
		return "", time.Time{}, &UnavailableError{Msg: fmt.Sprintf("The token server %s answers with something that holds no token.", realm.Host)}
	}
	return t, begin.Add(life - min(tokenMargin, life/2)), nil
}

// realm checks the address of a token server, which is the registry's word alone: no password goes
// out in clear text because of it.
func (c *conversation) realm(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.User != nil:
		return nil, apron.Faultf(apron.Invalid, "The registry %s names no usable token server.", c.loc.Host)
	case u.Scheme == "https", u.Scheme == "http" && c.loc.PlainHTTP && (c.own(u) || c.plain(u.Host)):
		u.Fragment = ""
		return u, nil
	default:
		return nil, lasting(errPlainHTTP, c.loc.Host)
	}
}

// tokenRequest asks with a password by GET, with an identity token by POST (distribution project,
// "token authentication specification" and "OAuth2 token authentication").
func (c *conversation) tokenRequest(ctx context.Context, realm *url.URL, params map[string]string) (*http.Request, error) {
	scope := params["scope"]
	if scope == "" {
		scope = "repository:" + c.loc.Repository + ":pull"
	}
	form := url.Values{"scope": {scope}}
	if s := params["service"]; s != "" {
		form.Set("service", s)
	}
	if t := c.loc.IdentityToken; t != "" {
		form.Set("grant_type", "refresh_token")
		form.Set("refresh_token", t)
		form.Set("client_id", "apron")
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(form.Encode()))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return req, nil
	}
	for name, values := range realm.Query() {
		if !form.Has(name) {
			form[name] = values
		}
	}
	to := *realm
	to.RawQuery = form.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), http.NoBody)
	if err == nil && c.loc.Password != "" {
		req.Header.Set("Authorization", basicAuth(c.loc.User, c.loc.Password))
	}
	return req, err
}

// parseToken reads a token server's answer; servers write the token under one name or the other.
func parseToken(r io.Reader) (token string, life time.Duration, ok bool) {
	var body struct {
		Token       string  `json:"token"`
		AccessToken string  `json:"access_token"`
		ExpiresIn   float64 `json:"expires_in"` // seconds
	}
	if json.NewDecoder(r).Decode(&body) != nil {
		return "", 0, false
	}
	if token = body.Token; token == "" {
		token = body.AccessToken
	}
	for _, b := range []byte(token) {
		if b <= ' ' || b > '~' {
			return "", 0, false // not what fits into a header
		}
	}
	life = tokenLife
	if body.ExpiresIn > tokenLife.Seconds() {
		life = time.Duration(min(body.ExpiresIn, 24*3600) * float64(time.Second))
	}
	return token, life, token != ""
}
