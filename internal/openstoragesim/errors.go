package openstoragesim

import (
	"errors"
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Errors of a Cluster wrap exactly one of these.
var (
	// ErrNotFound means that the volume or node does not exist.
	ErrNotFound = errors.New("not found")
	// ErrInvalid means that the request can never be carried out as written.
	ErrInvalid = errors.New("invalid")
	// ErrExhausted means that the cluster has not enough suitable nodes now.
	ErrExhausted = errors.New("not enough storage nodes")
	// ErrExists means that the name or id is taken by something different.
	ErrExists = errors.New("already exists")
	// ErrConflict means that the present state forbids the change.
	ErrConflict = errors.New("conflict")
)

// errorKind is how an error reaches a client of either interface.
type errorKind struct {
	err  error
	name string
	http int
	grpc codes.Code
}

var errorKinds = []errorKind{
	{ErrNotFound, "NotFound", http.StatusNotFound, codes.NotFound},
	{ErrInvalid, "Invalid", http.StatusBadRequest, codes.InvalidArgument},
	{ErrExhausted, "Exhausted", http.StatusInsufficientStorage, codes.ResourceExhausted},
	{ErrExists, "Exists", http.StatusConflict, codes.AlreadyExists},
	{ErrConflict, "Conflict", http.StatusConflict, codes.FailedPrecondition},
}

func kindOf(err error) errorKind {
	for _, kind := range errorKinds {
		if errors.Is(err, kind.err) {
			return kind
		}
	}
	return errorKind{err, "Internal", http.StatusInternalServerError, codes.Internal}
}

// statusOf gives an error of the cluster its gRPC code.
func statusOf(err error) error {
	if err == nil {
		return nil
	}
	return status.Error(kindOf(err).grpc, err.Error())
}
