package volumes

// Reader is the index as the scheduler sees it.
type Reader interface {
	View() *View
	Lookup(handle string) Entry
	Request(handle string) Entry
	Release(handle string)
	Subscribe(f func(Change)) (unsubscribe func())
	HasSynced() bool
}

// Sink is the index as the storage source sees it.
type Sink interface {
	Lookup(handle string) Entry
	Handles(which Selection) Handles
	Subscribe(f func(Change)) (unsubscribe func())
	HasSynced() bool
	Begin(handle string) (Inspection, bool)
	Notice(o *Observation) (followed bool, inspect []string)
	SetStorageNodes(list []StorageNode)
}

var (
	_ Reader = &Index{}
	_ Sink   = &Index{}
)
