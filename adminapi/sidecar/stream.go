package sidecar

import (
	"io"
	"net/http"
	"time"
)

// maxWrite is how long a caller may take to read what was written to it. Without a bound, one that reads nothing would
// keep a server from closing.
const maxWrite = 30 * time.Second

// boundedWriter is the writer of an answer that may take as long as its caller stays.
type boundedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

// Write writes within [maxWrite]. Where no deadline can be set, the server has its own.
func (w *boundedWriter) Write(b []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(maxWrite))
	return w.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (w *boundedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// closingStream is a stream that ends as one that is complete when the server closes. What it holds is complete at any
// time, and its reader resumes.
type closingStream struct {
	io.ReadCloser
	closed func() error // not nil: it does
}

// Read reads on.
func (s *closingStream) Read(b []byte) (int, error) {
	n, err := s.ReadCloser.Read(b)
	if err != nil && s.closed() != nil {
		err = io.EOF
	}
	return n, err
}
