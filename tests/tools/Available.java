// SPDX-License-Identifier: GPL-2.0-or-later

import java.io.IOException;
import java.io.InputStream;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;

/**
 * Gets a body again and again on one blocking connection, and reads no more at a time than InputStream.available() says
 * is there. That is FIONREAD: where it says 0 though bytes are there, the reader waits for one byte, which is what many do.
 *
 * java Available PORT PATH FILE COUNT: exit status 1 when a body is not the file. Prints how often nothing was available.
 */
class Available {
    static int empty;

    static int some(InputStream in, byte[] buffer, int offset, int want) throws IOException {
        int available = in.available();

        if (available == 0) {
            empty++;
            available = 1;
        }
        int n = in.read(buffer, offset, Math.min(want, available));
        if (n <= 0)
            throw new IOException("the connection ended");
        return n;
    }

    static void skipHeader(InputStream in) throws IOException {
        byte[] one = new byte[1];

        for (int newlines = 0; newlines < 4;) {
            some(in, one, 0, 1);
            newlines = one[0] == (newlines % 2 == 0 ? '\r' : '\n') ? newlines + 1 : 0;
        }
    }

    public static void main(String[] args) throws IOException {
        byte[] expected = Files.readAllBytes(Path.of(args[2]));
        byte[] body = new byte[expected.length];
        byte[] request = ("GET " + args[1] + " HTTP/1.1\r\nHost: mesh\r\n\r\n").getBytes();

        try (Socket socket = new Socket("127.0.0.1", Integer.parseInt(args[0]))) {
            InputStream in = socket.getInputStream();
            for (int i = 0; i < Integer.parseInt(args[3]); i++) {
                socket.getOutputStream().write(request);
                skipHeader(in);
                for (int at = 0; at < body.length;)
                    at += some(in, body, at, body.length - at);
                if (!Arrays.equals(body, expected)) {
                    System.out.println("body " + i + " differs");
                    System.exit(1);
                }
            }
        }
        System.out.println("empty=" + empty);
    }
}
