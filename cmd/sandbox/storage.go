package main

import "github.com/spf13/cobra"

func newStorageCommand() *cobra.Command { return &cobra.Command{Use: "storage"} }
