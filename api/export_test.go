package api

import (
	"errors"
	"reflect"

	"apron"
)

// Decode reads body as the input of an action and returns the wire struct. refused tells an error
// of syntax or constraints, which a client is told, from any other.
func Decode(action string, body []byte) (in any, refused bool, err error) {
	m := models[action]
	v := reflect.New(m.in)
	err = decode(body, m.input, v.Elem())
	var syntax syntaxError
	var broken *findings
	return v.Interface(), errors.As(err, &syntax) || errors.As(err, &broken), err
}

// Token returns the token of the page after the cursor.
func Token(action string, scope apron.Scope, filter, after string) string {
	return *listing{action, scope, filter}.next(after)
}

// Cursor returns what is in a token.
func Cursor(action string, scope apron.Scope, filter, token string) (string, error) {
	p, err := listing{action, scope, filter}.page(&token, nil)
	return p.After, err
}

// Explain returns the exception name and status of an error on an action.
func Explain(err error, action string) (string, int) {
	a := explain(err, models[action].errors)
	return a.name, a.status
}

// MatchImageIdentifier is what checks shape ImageIdentifier.
func MatchImageIdentifier(s string) bool { return matchImageIdentifier(s) }
