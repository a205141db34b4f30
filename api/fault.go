package api

import (
	"context"
	"errors"
	"net/http"

	"apron"
	"apron/sigv4"
)

// exceptions is a set of modelled errors.
type exceptions uint8

// The modelled errors (service model, shapes *Exception).
const (
	hasInvalidRequest exceptions = 1 << iota
	hasInvalidState
	hasResourceNotFound
	hasServiceQuotaExceeded
	hasInternalServiceError
)

// answer is an error as a client sees it.
type answer struct {
	name   string // exception name
	status int
	msg    string
}

// What the front door refuses before any action is asked. Texts after AWS's where it has one.
var (
	errTooLarge         = errors.New("request body over the limit")
	errTooSlow          = errors.New("request body not sent in time")
	errAborted          = errors.New("request body cut off")
	errUnknownOperation = errors.New("not an operation of this API")
	errWrongService     = errors.New("signed for a service that is not offered")
	errPanic            = errors.New("panicked") // a bug of ours
)

// explain turns an error into what the client is told. set is what the action may answer; it is
// never left but for errors common to all actions (App Runner API reference, "Common Errors").
func explain(err error, set exceptions) answer {
	if a, ok := explainFrontDoor(err); ok {
		return a
	}
	var (
		syntax syntaxError
		broken *findings
		fault  *apron.Fault
	)
	switch {
	case errors.As(err, &syntax):
		return answer{"SerializationException", http.StatusBadRequest, syntax.Error()}
	case errors.As(err, &broken):
		return answer{"InvalidRequestException", http.StatusBadRequest, broken.Error()}
	case errors.As(err, &fault):
		return explainFault(fault, set)
	default:
		return internal()
	}
}

// explainFault maps the kinds of fault to exceptions. A kind that the action cannot express is an
// invalid request, which every action can: a typed handler in a client would miss anything else.
func explainFault(f *apron.Fault, set exceptions) answer {
	name := "InvalidRequestException"
	switch {
	case f.Kind == apron.NotFound && set&hasResourceNotFound != 0:
		name = "ResourceNotFoundException"
	case f.Kind == apron.State && set&hasInvalidState != 0:
		name = "InvalidStateException"
	case f.Kind == apron.Quota && set&hasServiceQuotaExceeded != 0:
		name = "ServiceQuotaExceededException"
	}
	return answer{name, http.StatusBadRequest, f.Msg}
}

func explainFrontDoor(err error) (answer, bool) {
	var sig *sigv4.Error
	switch {
	case errors.As(err, &sig):
		return answer{signatureError(sig.Code), http.StatusForbidden, sig.Msg}, true
	case errors.Is(err, errUnknownOperation):
		return answer{"UnknownOperationException", http.StatusNotFound, "The requested operation is not known. The App Runner API takes POST requests with X-Amz-Target: AppRunner.<Operation>."}, true
	case errors.Is(err, errWrongService):
		return answer{"InvalidSignatureException", http.StatusForbidden, "Credential should be scoped to correct service: 'apprunner'."}, true
	case errors.Is(err, errTooLarge):
		return answer{"RequestEntityTooLargeException", http.StatusRequestEntityTooLarge, "The request body is larger than 4 MiB."}, true
	case errors.Is(err, errTooSlow):
		return answer{"RequestTimeoutException", http.StatusRequestTimeout, "The request body was not received in time."}, true
	case errors.Is(err, errAborted), errors.Is(err, context.Canceled):
		return answer{"RequestAbortedException", http.StatusBadRequest, "The request was aborted before a response was returned."}, true
	}
	return answer{}, false
}

func signatureError(c sigv4.Code) string {
	switch c {
	case sigv4.MissingAuthenticationToken:
		return "MissingAuthenticationTokenException"
	case sigv4.IncompleteSignature:
		return "IncompleteSignature"
	case sigv4.UnrecognizedClient:
		return "UnrecognizedClientException"
	default:
		return "InvalidSignatureException"
	}
}

// internal is the answer to what is our own fault. The log has the rest, under the request id.
func internal() answer {
	return answer{"InternalServiceErrorException", http.StatusInternalServerError, "An unexpected service exception occurred."}
}
