// Google Cloud Storage on loopback: fake-gcs-server, which takes an object by `PUT` (the XML API) only where its address is signed,
// and tells no ETag then.
// Usage: google HOST:PORT FOLDER
package main

import (
	"log"
	"net/http"
	"os"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

func main() {
	server, err := fakestorage.NewServerWithOptions(fakestorage.Options{
		StorageRoot: os.Args[2],
		PublicHost:  os.Args[1],
		Scheme:      "http",
		NoListener:  true,
	})
	if err != nil {
		log.Fatal(err)
	}
	handler := server.HTTPHandler()
	log.Fatal(http.ListenAndServe(os.Args[1], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			query := r.URL.Query()
			query.Set("X-Goog-Algorithm", "any")
			r.URL.RawQuery = query.Encode()
			w.Header().Set("ETag", `"any"`)
		}
		handler.ServeHTTP(w, r)
	})))
}
