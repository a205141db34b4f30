package fleet_test

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"apron"
	"apron/engine"
)

// get asks the host through the router at addr and returns the answer, or what went wrong.
func get(ctx context.Context, addr, host string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/", nil)
	if err != nil {
		return err.Error()
	}
	req.Host = host
	tr := &http.Transport{DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Sprint(resp.StatusCode, " ", err)
	}
	return string(body)
}

// enginetestSpec is what an engine in memory needs to know of a revision.
func enginetestSpec(svc apron.Service, rev apron.Revision) engine.Spec {
	return engine.Spec{Revision: rev.ID, Service: svc.ID, Image: rev.Image, HealthCheck: rev.Config.HealthCheck}
}
