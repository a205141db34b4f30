package server

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"apron"
	"apron/secrets"
	"apron/source"
	"apron/store"
)

// webhookPrefix begins the path at which a Git host tells a service of pushes; the service's id follows.
const webhookPrefix = "/webhooks/git/"

// webhookTimeout bounds the reading of a webhook.
const webhookTimeout = 30 * time.Second

// webhookSecret returns what a Git host signs a service's webhooks with.
func webhookSecret(keys *secrets.Keyset, id apron.ServiceID) (string, error) {
	return keys.Token("webhook/" + string(id))
}

// Webhook returns the URL at which a Git host tells of pushes to a service's repository, and the secret
// it signs with.
func (l Local) Webhook(id apron.ServiceID) (url, secret string, err error) {
	keys, err := openKeys(l.Data)
	if err != nil {
		return "", "", err
	}
	secret, err = webhookSecret(keys, id)
	return "http://" + l.Listen + webhookPrefix + string(id), secret, err
}

// serveWebhook has the branch of a service looked at, because its Git host says that it was pushed to.
func (cp *controlPlane) serveWebhook(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "Webhooks are sent by POST.", http.StatusMethodNotAllowed)
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(webhookTimeout)) // a recorder in a test has none
	id := apron.ServiceID(strings.TrimPrefix(r.URL.Path, webhookPrefix))
	secret, err := webhookSecret(cp.keys, id)
	if err != nil {
		cp.log.Error("secret of webhooks", "err", err)
		http.Error(w, "not available", http.StatusInternalServerError)
		return
	}
	hook, err := source.ReadWebhook(r.Header, r.Body, secret)
	switch {
	case errors.Is(err, source.ErrSignature): // also for services that do not exist: nobody else is told which do
		http.Error(w, "The webhook is not signed with the service's secret (apron webhooks NAME).", http.StatusUnauthorized)
		return
	case err != nil:
		http.Error(w, "The webhook cannot be read.", http.StatusBadRequest)
		return
	}
	svc, err := cp.store.Service(r.Context(), id)
	switch {
	case errors.Is(err, store.ErrNotFound) || err == nil && svc.Status == apron.ServiceDeleted:
		http.Error(w, "The service does not exist any more.", http.StatusNotFound)
	case err != nil:
		cp.log.Error("read service of a webhook", "service", id, "err", err)
		http.Error(w, "not available", http.StatusServiceUnavailable)
	default:
		cp.knock(w, svc, hook)
	}
}

// knock has the branch looked at unless that is in vain, and says which.
func (cp *controlPlane) knock(w http.ResponseWriter, svc apron.Service, hook source.Webhook) {
	code := svc.Config.Source.Code
	switch {
	case !hook.Push:
		fmt.Fprintln(w, "heard; only pushes deploy")
	case code == nil || !svc.Config.Source.AutoDeployments:
		fmt.Fprintln(w, "ignored: the service has no automatic deployments from source code")
	case hook.Branch != "" && hook.Branch != code.Branch:
		fmt.Fprintln(w, "ignored: the service follows another branch")
	default:
		cp.branches.Knock(svc.ID)
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintln(w, "accepted")
	}
}
