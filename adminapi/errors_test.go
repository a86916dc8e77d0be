package adminapi

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
)

func TestEveryReasonHasTheStatusOfTheContract(t *testing.T) {
	t.Parallel()
	want := map[core.Reason]string{
		core.BadRequest:               "400 INVALID_ARGUMENT",
		core.CredentialRequired:       "400 INVALID_ARGUMENT",
		core.InvalidKeyFormat:         "400 INVALID_ARGUMENT",
		core.UnknownCredential:        "400 INVALID_ARGUMENT",
		core.InvalidTokenType:         "400 INVALID_ARGUMENT",
		core.DerivedTokenNotRevocable: "400 INVALID_ARGUMENT",
		core.KeyExpired:               "401 UNAUTHENTICATED",
		core.KeyRevoked:               "401 UNAUTHENTICATED",
		core.ParentKeyInvalid:         "401 UNAUTHENTICATED",
		core.KeyQuotaExceeded:         "402 PERMISSION_DENIED",
		core.Forbidden:                "403 PERMISSION_DENIED",
		core.IPNotAllowed:             "403 PERMISSION_DENIED",
		core.KeyNotFound:              "404 NOT_FOUND",
		core.NotFound:                 "404 NOT_FOUND",
		core.KeyExists:                "409 ALREADY_EXISTS",
		core.Conflict:                 "409 ALREADY_EXISTS",
		core.FailedPrecondition:       "409 FAILED_PRECONDITION",
		core.TooManyRequests:          "429 RESOURCE_EXHAUSTED",
		core.Unavailable:              "503 UNAVAILABLE",
		core.DeadlineExceeded:         "504 DEADLINE_EXCEEDED",
		core.Internal:                 "500 INTERNAL",
	}
	for reason, answer := range want {
		w := httptest.NewRecorder()
		WriteError(w, fmt.Errorf("wrapped: %w", core.NewError(reason, "m")))
		e := apitest.WantError(t, w, StatusOf(reason), reason)
		if got := strconv.Itoa(e.Code) + " " + e.Status; got != answer {
			t.Errorf("%s: got %s, want %s", reason, got, answer)
		}
	}
	for _, reason := range declaredReasons(t) {
		if _, ok := want[reason]; !ok {
			t.Errorf("the table has no row for %s", reason)
		}
	}
}

// declaredReasons reads the reasons of package core from its source.
func declaredReasons(t *testing.T) (reasons []core.Reason) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../core/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for _, v := range spec.Values {
			if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				text, _ := strconv.Unquote(lit.Value)
				reasons = append(reasons, core.Reason(text))
			}
		}
		return true
	})
	if len(reasons) < 10 {
		t.Fatalf("found %d reasons", len(reasons))
	}
	return reasons
}

func TestAnErrorThatNobodyNamedTellsNothing(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]core.Reason{
		errors.New("detail"):                       core.Internal,
		context.DeadlineExceeded:                   core.DeadlineExceeded,
		fmt.Errorf("detail: %w", context.Canceled): core.DeadlineExceeded,
		core.NewError("NEW_REASON", "detail"):      core.Internal,
	} {
		w := httptest.NewRecorder()
		WriteError(w, err)
		if e := apitest.WantError(t, w, StatusOf(want), want); e.Message == "detail" {
			t.Errorf("%v: the answer has the detail", err)
		}
	}
}

func TestWriteStatusKeepsHeadersThatAreThere(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	w.Header().Set("WWW-Authenticate", "Bearer")
	w.Header().Set("Vary", "Authorization")
	WriteStatus(w, http.StatusUnauthorized, core.CredentialRequired, "no credential")
	e := apitest.WantError(t, w, http.StatusUnauthorized, core.CredentialRequired)
	if e.Status != "UNAUTHENTICATED" || w.Header().Get("WWW-Authenticate") != "Bearer" || w.Header().Get("Vary") == "" {
		t.Errorf("got %+v and %v", e, w.Header())
	}
}

func TestRetryAfterIsInWholeSecondsRoundedUp(t *testing.T) {
	t.Parallel()
	for wait, want := range map[time.Duration]string{1: "1", time.Second: "1", 5001 * time.Millisecond: "6"} {
		w := httptest.NewRecorder()
		WriteError(w, &httpError{cause: core.NewError(core.TooManyRequests, "m"), retryAfter: wait})
		if got := w.Header().Get("Retry-After"); got != want {
			t.Errorf("%s: got %q, want %q", wait, got, want)
		}
	}
	w := httptest.NewRecorder()
	w.Header().Set("Retry-After", "9")
	WriteError(w, core.NewError(core.Unavailable, "m"))
	if got := w.Header().Get("Retry-After"); got != "9" {
		t.Errorf("got %q", got)
	}
}
