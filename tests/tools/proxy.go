// SPDX-License-Identifier: GPL-2.0-or-later

// A TCP proxy as one writes it in Go: io.Copy both ways, which splices from one connection into the other.
//
//	proxy LISTEN UPSTREAM
package main

import (
	"io"
	"log"
	"net"
	"os"
)

// The end of one direction is passed on; the other goes on.
func forward(to, from *net.TCPConn, done chan<- error) {
	_, err := io.Copy(to, from)
	to.CloseWrite()
	done <- err
}

func serve(client *net.TCPConn, upstream string) {
	defer client.Close()
	connection, err := net.Dial("tcp", upstream)
	if err != nil {
		log.Print(err)
		return
	}
	defer connection.Close()
	server := connection.(*net.TCPConn)
	done := make(chan error, 2)
	go forward(server, client, done)
	go forward(client, server, done)
	for i := 0; i < 2; i++ {
		if err := <-done; err != nil {
			log.Print(err)
		}
	}
}

func main() {
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(client.(*net.TCPConn), os.Args[2])
	}
}
