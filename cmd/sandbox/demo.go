package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
)

func newDemoCommand() *cobra.Command {
	return &cobra.Command{Use: "demo", RunE: func(cmd *cobra.Command, _ []string) error {
		_ = context.Background
		return errors.New("not there yet")
	}}
}
